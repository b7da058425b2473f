"""Reports of mail servers in real time: one line in, a listing out; and what is listed told to mail servers."""
