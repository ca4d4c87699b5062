output "arns" {
  description = "ARNs of the secrets, by Strongroom's names."
  value       = { for name in keys(var.secrets) : name => aws_secretsmanager_secret.this["${var.name}/${name}"].arn }
}

output "rotating" {
  description = "ARNs of the secrets that rotate, by name; known once their first values stand, so that no rotation begins without."
  value       = { for name, secret in var.secrets : name => aws_secretsmanager_secret.this["${var.name}/${name}"].arn if secret.rotate }
  depends_on  = [aws_secretsmanager_secret_version.first]
}
