"""Software engineering: the environment, and the tasks that come with the package."""
