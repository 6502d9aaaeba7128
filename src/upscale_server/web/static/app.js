// Puts the video server's page together.
