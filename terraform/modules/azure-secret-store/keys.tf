locals {
  key_name = var.key == null ? "" : coalesce(var.key.name, local.alias)
  key_url  = var.key == null ? null : "azure-key://${var.vault_name}/${local.key_name}"
}

resource "azurerm_key_vault_key" "this" {
  #checkov:skip=CKV_AZURE_40:an expired key wraps nothing any more; rotation_policy renews it
  count = var.key == null ? 0 : 1

  key_vault_id = azurerm_key_vault.this.id
  name         = local.key_name
  key_type     = var.key.type
  key_size     = var.key.size
  key_opts     = ["wrapKey", "unwrapKey"]
  tags         = var.tags

  rotation_policy {
    automatic {
      time_after_creation = "P${var.key.rotation_days}D"
    }
  }
}
