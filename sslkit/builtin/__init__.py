"""sslkit's own components: a plugin like any other, registered under the namespace `builtin`."""
