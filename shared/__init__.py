"""What the services share: the contract between them, and the ways to RabbitMQ and MongoDB."""
