"""A video of one's own as a page: what it shows, how sure, where and when the network looked."""
