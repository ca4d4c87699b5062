output "store_url" {
  description = "URL of the store, for strongroom.toml or `strongroom.open`."
  value       = local.store_url
}

output "strongroom_toml" {
  description = "Fragment of strongroom.toml that uses the store: no credential stands in it."
  value       = module.strongroom_toml.strongroom_toml
}

output "secret_ids" {
  description = "Google's names of the secrets, by Strongroom's."
  value       = { for name, secret in google_secret_manager_secret.this : name => secret.secret_id }
}

output "kms_key_names" {
  description = "Keys that the secrets are encrypted under, by location."
  value       = local.keys
}

output "reader_policy" {
  description = "Permissions and conditions of who reads values, by the names of the custom roles."
  value       = { for name, grant in module.policies.grants : name => grant if grant.role == "reader" }
}

output "rotator_policy" {
  description = "Permissions and conditions of who rotates, by the names of the custom roles."
  value       = { for name, grant in module.policies.grants : name => grant if grant.role == "rotator" }
}

output "administrator_policy" {
  description = "Permissions and conditions of who writes, tags, purges and replicates, by the names of the custom roles."
  value       = { for name, grant in module.policies.grants : name => grant if grant.role == "administrator" }
}

output "role_ids" {
  description = "Ids of the custom roles, by name."
  value       = { for role, made in google_project_iam_custom_role.this : role => made.id }
}

output "topic" {
  description = "Topic that Secret Manager tells its events to; null without a rotation."
  value       = one(google_pubsub_topic.rotation[*].id)
}

output "rotator_email" {
  description = "Service account of the functions; null without them."
  value       = one(google_service_account.rotator[*].email)
}
