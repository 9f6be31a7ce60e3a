"""The built-in components: a plugin like any other, and the one table of all that ships."""
