"""What every loss leans on: compiling, checking, cleaning, reducing. No losses here."""
