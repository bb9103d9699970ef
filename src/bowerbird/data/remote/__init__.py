"""Images from elsewhere: archives and links, fetched once and unpacked with care."""
