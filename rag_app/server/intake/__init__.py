"""What comes in: uploads, how much one key may have, and the one thread that writes in turns."""
