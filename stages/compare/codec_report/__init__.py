"""The codec report: what codecs lose on perfect maps, and how far the argmax strays.

Without any network: oracle and stock measure, views and panels show. Of the finished
cells' networks: coarse reads and fits, histograms shows.
"""

from plugins import mmpose_compat

mmpose_compat.install()
