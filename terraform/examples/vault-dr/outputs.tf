output "in_sync" {
  description = "Whether the second Vault has every secret as the first has it."
  value       = strongroom_replication.dr.in_sync
}

output "secrets" {
  description = "The secrets as references, for applications to resolve."
  value       = { for name, secret in strongroom_secret.this : name => secret.id }
}
