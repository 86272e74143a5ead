"""What happens to images, as it happens: heard once from RabbitMQ, told to everybody who watches."""
