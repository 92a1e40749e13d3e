"""Worker programs, one for each library, with the protocol of driver.py."""
