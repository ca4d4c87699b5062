locals {
  alias     = replace(var.name, "/", "-")
  store_url = "azure-kv://${var.vault_name}/${var.name}"

  # Azure's names have dashes alone: runs of two to four stand for / . and _, as Strongroom writes them.
  prefix = replace(replace(replace(var.name, "/", "--"), ".", "---"), "_", "----")
  names = {
    for name in keys(var.secrets) : name => "${local.prefix}--${replace(replace(replace(name, "/", "--"), ".", "---"), "_", "----")}"
  }
}

resource "azurerm_key_vault" "this" {
  #checkov:skip=CKV_AZURE_189:network_acls refuse everybody but who is named; network.public = false closes it wholly
  #checkov:skip=CKV2_AZURE_32:network.endpoint_subnet_id makes one
  name                          = var.vault_name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tenant_id                     = var.tenant_id
  sku_name                      = "premium"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = var.soft_delete_days
  public_network_access_enabled = var.network.public
  tags                          = var.tags

  network_acls {
    default_action             = "Deny"
    bypass                     = "AzureServices"
    ip_rules                   = var.network.ip_rules
    virtual_network_subnet_ids = var.network.subnet_ids
  }
}

resource "azurerm_private_endpoint" "vault" {
  count = var.network.endpoint_subnet_id == null ? 0 : 1

  name                = "${var.vault_name}-vault"
  resource_group_name = var.resource_group_name
  location            = var.location
  subnet_id           = var.network.endpoint_subnet_id
  tags                = var.tags

  private_service_connection {
    name                           = var.vault_name
    is_manual_connection           = false
    private_connection_resource_id = azurerm_key_vault.this.id
    subresource_names              = ["vault"]
  }

  dynamic "private_dns_zone_group" {
    for_each = length(var.network.dns_zone_ids) > 0 ? [var.network.dns_zone_ids] : []
    content {
      name                 = "vault"
      private_dns_zone_ids = private_dns_zone_group.value
    }
  }
}

# Of what this module alone writes: another number in value_versions puts the value as a new version.
resource "azurerm_key_vault_secret" "written" {
  #checkov:skip=CKV_AZURE_41:a schedule renews it; an expiry goes over to each new version, and would stop what works
  for_each = { for name, version in var.value_versions : name => version if !var.secrets[name].rotate }

  key_vault_id     = azurerm_key_vault.this.id
  name             = local.names[each.key]
  value_wo         = lookup(var.values, each.key, local.missing)
  value_wo_version = each.value
  content_type     = "text/plain"
  tags             = local.tags[each.key]

  lifecycle {
    # Strongroom's book of a version stands in its tags beside yours, and what holds bytes has a type of its own.
    ignore_changes = [content_type, expiration_date, not_before_date, tags]
  }
}

# The first value of what is rotated, put once: no number brings it back over a rotated one.
resource "azurerm_key_vault_secret" "first" {
  #checkov:skip=CKV_AZURE_41:a schedule renews it; an expiry goes over to each new version, and would stop what works
  for_each = { for name, version in var.value_versions : name => version if var.secrets[name].rotate }

  key_vault_id     = azurerm_key_vault.this.id
  name             = local.names[each.key]
  value_wo         = lookup(var.values, each.key, local.missing)
  value_wo_version = each.value
  content_type     = "text/plain"
  tags             = local.tags[each.key]

  lifecycle {
    # Strongroom's book of a version stands in its tags beside yours, and what holds bytes has a type of its own.
    ignore_changes = [content_type, expiration_date, not_before_date, tags, value_wo_version]
  }
}

locals {
  # Longer than the 25,600 bytes that Key Vault takes: to write a secret without its value is refused, and an apply
  # that writes nothing needs none.
  missing = join("", [for number in range(1000) : "values has no value for this secret. "])

  tags = {
    for name, secret in var.secrets : name => merge(
      var.tags,
      secret.tags,
      secret.description == null ? {} : { description = secret.description },
    )
  }
}

resource "azurerm_monitor_diagnostic_setting" "audit" {
  count = var.log_analytics_workspace_id == null ? 0 : 1

  name                       = "strongroom"
  target_resource_id         = azurerm_key_vault.this.id
  log_analytics_workspace_id = var.log_analytics_workspace_id

  enabled_log {
    category = "AuditEvent"
  }
}
