"""Pictures and tables of what was found; computes nothing about models itself."""
