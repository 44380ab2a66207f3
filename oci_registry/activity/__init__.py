"""What has happened over the last hour, day and week."""
