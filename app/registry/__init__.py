"""What stands in the city and who owns it: agencies, areas, cameras and other assets, and their import."""
