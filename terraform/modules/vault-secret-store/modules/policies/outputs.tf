output "reader_policy" {
  description = "Policy of who reads values."
  value       = local.policies.reader
}

output "rotator_policy" {
  description = "Policy of who rotates: a worker."
  value       = local.policies.rotator
}

output "administrator_policy" {
  description = "Policy of who writes, tags, deletes, restores, purges and replicates."
  value       = local.policies.administrator
}
