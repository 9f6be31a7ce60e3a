"""Files that ``medfuse plugins new`` starts a plugin package from."""
