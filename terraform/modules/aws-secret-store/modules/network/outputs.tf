output "vpc" {
  description = "Subnets and security group of the function: `vpc` of the rotation module."
  value       = { subnet_ids = var.subnet_ids, security_group_ids = [aws_security_group.function.id] }
}

output "security_group_id" {
  description = "Security group of the function, to be let in by what it rotates."
  value       = aws_security_group.function.id
}
