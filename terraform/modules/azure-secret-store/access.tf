module "policies" {
  source = "./modules/policies"

  encrypted = var.key != null
}

locals {
  data_actions = {
    reader        = module.policies.reader_policy
    rotator       = module.policies.rotator_policy
    administrator = module.policies.administrator_policy
  }

  # By their place in the list: the id of an identity of the same plan is known after it alone.
  principals = merge([
    for role, ids in {
      reader        = var.readers
      rotator       = concat(var.rotators, azurerm_user_assigned_identity.rotator[*].principal_id)
      administrator = var.administrators
    } : { for at, id in ids : "${role} ${at}" => { role = role, id = id } }
  ]...)
}

resource "azurerm_role_definition" "this" {
  for_each = local.data_actions

  name              = "Strongroom ${var.vault_name} ${each.key}"
  description       = "The ${each.key} of the Strongroom store ${var.name}"
  scope             = azurerm_key_vault.this.id
  assignable_scopes = [azurerm_key_vault.this.id]

  permissions {
    data_actions = each.value
  }
}

resource "azurerm_role_assignment" "this" {
  for_each = local.principals

  scope              = azurerm_key_vault.this.id
  role_definition_id = azurerm_role_definition.this[each.value.role].role_definition_resource_id
  principal_id       = each.value.id
}
