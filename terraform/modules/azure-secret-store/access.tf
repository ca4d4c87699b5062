locals {
  vault = "Microsoft.KeyVault/vaults"

  roles = {
    reader = {
      data_actions = ["${local.vault}/secrets/getSecret/action", "${local.vault}/secrets/readMetadata/action"]
    }
    rotator = {
      data_actions = [
        "${local.vault}/secrets/getSecret/action", "${local.vault}/secrets/readMetadata/action",
        "${local.vault}/secrets/setSecret/action", "${local.vault}/secrets/update/action",
      ]
    }
    administrator = {
      data_actions = [
        "${local.vault}/secrets/getSecret/action", "${local.vault}/secrets/readMetadata/action",
        "${local.vault}/secrets/setSecret/action", "${local.vault}/secrets/update/action",
        "${local.vault}/secrets/delete", "${local.vault}/secrets/recover/action", "${local.vault}/secrets/purge/action",
      ]
    }
  }

  key_actions = var.key == null ? [] : ["${local.vault}/keys/read", "${local.vault}/keys/wrap/action", "${local.vault}/keys/unwrap/action"]

  principals = merge([
    for role, ids in {
      reader        = var.readers
      rotator       = concat(var.rotators, azurerm_user_assigned_identity.rotator[*].principal_id)
      administrator = var.administrators
    } : { for at, id in ids : "${role} ${at}" => { role = role, id = id } }
  ]...)
}

resource "azurerm_role_definition" "this" {
  for_each = local.roles

  name              = "Strongroom ${var.vault_name} ${each.key}"
  description       = "The ${each.key} of the Strongroom store ${var.name}"
  scope             = azurerm_key_vault.this.id
  assignable_scopes = [azurerm_key_vault.this.id]

  permissions {
    data_actions = concat(each.value.data_actions, local.key_actions)
  }
}

resource "azurerm_role_assignment" "this" {
  for_each = local.principals

  scope              = azurerm_key_vault.this.id
  role_definition_id = azurerm_role_definition.this[each.value.role].role_definition_resource_id
  principal_id       = each.value.id
}
