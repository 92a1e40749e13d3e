"""Worker processes, one for each library, which all understand the same lines; see driver.py."""
