#!/usr/bin/env bash
# A real SLURM of one node on this machine, as root, for tests:
#   one_node.sh install      Debian's packages (apt-get)
#   one_node.sh start DIR    with its files in DIR; then: source DIR/env.sh
#   one_node.sh stop DIR
# It keeps to DIR and to ports of its own, and knows no accounts: sacct fails.
set -euo pipefail
cpus=8  # said to be there, so that jobs run at once on small machines

install() {
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    slurmctld slurmd slurm-client munge
}

start() {
  dir=$(mkdir -p "$1" && cd "$1" && pwd)
  host=$(hostname -s)
  mkdir -p "$dir"/{munge,state,spool,log}
  chmod 755 "$dir" && chmod 700 "$dir/munge"
  head -c 1024 /dev/urandom >"$dir/munge/key" && chmod 400 "$dir/munge/key"
  cat >"$dir/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
EOF
  echo "export SLURM_CONF=$dir/slurm.conf" >"$dir/env.sh"
  export SLURM_CONF=$dir/slurm.conf
  munged --force --key-file="$dir/munge/key" --socket="$dir/munge.socket" \
    --pid-file="$dir/munged.pid" --log-file="$dir/log/munged" \
    --seed-file="$dir/munge/seed"
  slurmctld
  slurmd
  for _ in $(seq 60); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && return
    sleep 0.5
  done
  echo "the node did not come up: see $dir/log" >&2
  stop "$dir"
  return 1
}

stop() {
  for daemon in slurmd slurmctld munged; do
    [ -f "$1/$daemon.pid" ] && kill "$(cat "$1/$daemon.pid")" 2>/dev/null || true
  done
}

"$@"
