"""Public datasets: fetched into a folder of the user's, then read as they are.

``parts`` fetches and unpacks what is missing; each source has a module of its own.
"""
