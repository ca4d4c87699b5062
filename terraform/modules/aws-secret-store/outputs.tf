output "store_url" {
  description = "Strongroom's URL of the store."
  value       = "aws-sm://${local.region}/${var.name}"
}

output "strongroom_toml" {
  description = "The part of strongroom.toml that uses the store: its regions, the replication between them, failover, rotation."
  value       = join("\n", concat([module.strongroom_toml.strongroom_toml], local.replicas, local.failover))
}

output "secret_arns" {
  description = "ARNs of the secrets, by Strongroom's names."
  value       = module.secrets.arns
}

output "kms_key_arn" {
  description = "ARN of the key that encrypts the secrets in this region; null for aws/secretsmanager."
  value       = local.key
}

output "reader_policy" {
  description = "Policy document of who reads values, in every region."
  value       = module.iam.reader_policy
}

output "rotator_policy" {
  description = "Policy document of who rotates: the function, or a worker."
  value       = module.iam.rotator_policy
}

output "administrator_policy" {
  description = "Policy document of who writes, tags, deletes, restores, purges and replicates."
  value       = module.iam.administrator_policy
}

output "policy_arns" {
  description = "ARNs of the managed policies, by role: reader, rotator, administrator."
  value       = module.iam.policy_arns
}

output "function_arn" {
  description = "ARN of the rotation function; null without rotation."
  value       = one(module.rotation[*].function_arn)
}

output "function_role_arn" {
  description = "ARN of the function's role, for what its rotator reaches; null without rotation."
  value       = one(module.rotation[*].role_arn)
}

output "function_security_group_id" {
  description = "Security group of the function, to be let in by what it rotates; null outside a VPC."
  value       = one(module.network[*].security_group_id)
}

output "alarm_arns" {
  description = "ARNs of the alarms, by what they tell: failed, errors, dead, overdue; null without rotation."
  value       = one(module.alarms[*].alarm_arns)
}
