output "reader_policy" {
  description = "Policy document of who reads values, in every region."
  value       = module.policies.reader_policy
}

output "rotator_policy" {
  description = "Policy document of who rotates: the function, or a worker."
  value       = module.policies.rotator_policy
}

output "administrator_policy" {
  description = "Policy document of who writes, tags, deletes, restores, purges and replicates."
  value       = module.policies.administrator_policy
}

output "policy_arns" {
  description = "ARNs of the managed policies, by role: reader, rotator, administrator."
  value       = { for role, policy in aws_iam_policy.this : role => policy.arn }
}
