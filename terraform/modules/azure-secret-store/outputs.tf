output "store_url" {
  description = "URL of the store, for strongroom.toml or `strongroom.open`."
  value       = local.store_url
}

output "key_url" {
  description = "URL of the key; null without one."
  value       = local.key_url
}

output "strongroom_toml" {
  description = "Fragment of strongroom.toml that uses the store: no credential stands in it."
  value       = module.strongroom_toml.strongroom_toml
}

output "vault_id" {
  description = "Resource id of the vault."
  value       = azurerm_key_vault.this.id
}

output "secret_names" {
  description = "Azure's names of the secrets, by Strongroom's."
  value       = local.names
}

output "reader_policy" {
  description = "Data actions of who reads values."
  value       = local.data_actions.reader
}

output "rotator_policy" {
  description = "Data actions of who rotates."
  value       = local.data_actions.rotator
}

output "administrator_policy" {
  description = "Data actions of who writes, tags, deletes, restores, purges and replicates."
  value       = local.data_actions.administrator
}

output "role_ids" {
  description = "Ids of the role definitions, by role."
  value       = { for role, made in azurerm_role_definition.this : role => made.role_definition_resource_id }
}

output "rotator_principal_id" {
  description = "Object id of the function's identity; null without a function."
  value       = one(azurerm_user_assigned_identity.rotator[*].principal_id)
}

output "function_app_name" {
  description = "Function app that the package is published to; null without one."
  value       = one(azurerm_function_app_flex_consumption.rotation[*].name)
}
