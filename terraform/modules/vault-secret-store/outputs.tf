output "store_url" {
  description = "URL of the store, for strongroom.toml or `strongroom.open`."
  value       = local.store_url
}

output "key_url" {
  description = "URL of the transit key; null without one."
  value       = local.key_url
}

output "strongroom_toml" {
  description = "Fragment of strongroom.toml that uses the store: no credential stands in it."
  value       = module.strongroom_toml.strongroom_toml
}

output "reader_policy" {
  description = "Policy of who reads values, as HCL of Vault's."
  value       = vault_policy.this["reader"].policy
}

output "rotator_policy" {
  description = "Policy of who rotates."
  value       = vault_policy.this["rotator"].policy
}

output "administrator_policy" {
  description = "Policy of who writes, tags, deletes, restores, purges and replicates."
  value       = vault_policy.this["administrator"].policy
}

output "policy_names" {
  description = "Names of the policies by role, for other auth methods."
  value       = { for role, policy in vault_policy.this : role => policy.name }
}

output "approle_path" {
  description = "Where the AppRole method is mounted: secret ids are made there, wrapped, and never by Terraform."
  value       = local.approle_path
}

output "secrets" {
  description = "Names of the secrets that Terraform has written a value of, with the version that it wrote last."
  value       = { for name, secret in merge(vault_kv_secret_v2.written, vault_kv_secret_v2.first) : name => secret.data_json_wo_version }
}
