"""What recblr-bench does: traffic, load, statistics and reports. Nothing here is needed to serve."""
