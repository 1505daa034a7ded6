"""`call.html`: what a recorded call was, as one page to hear, read and look at."""
