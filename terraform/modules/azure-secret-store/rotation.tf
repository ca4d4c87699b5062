locals {
  rotated   = var.rotation == null ? [] : [for name, secret in var.secrets : name if secret.rotate]
  functions = try(var.rotation.function, false) ? 1 : 0
  events    = try(var.rotation.events, false) ? 1 : 0
  function  = "${local.prefix}-rotation"

  # Names of storage accounts are letters and digits, unique in all of Azure, as the vault's is.
  storage = "${substr(replace(var.vault_name, "-", ""), 0, 16)}${substr(sha256("${var.vault_name} ${var.name}"), 0, 8)}"
}

resource "azurerm_user_assigned_identity" "rotator" {
  count = local.functions

  name                = local.function
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_storage_account" "rotation" {
  #checkov:skip=CKV_AZURE_33:no queue is used
  #checkov:skip=CKV_AZURE_35:the function reaches it by its identity; who wants a network boundary gives a subnet
  #checkov:skip=CKV_AZURE_59:see CKV_AZURE_35
  #checkov:skip=CKV_AZURE_206:it holds code and undelivered events, which name a secret and hold no value
  #checkov:skip=CKV2_AZURE_1:see CKV_AZURE_206
  #checkov:skip=CKV2_AZURE_33:see CKV_AZURE_35
  count = local.functions

  name                            = local.storage
  resource_group_name             = var.resource_group_name
  location                        = var.location
  account_tier                    = "Standard"
  account_replication_type        = "ZRS"
  min_tls_version                 = "TLS1_2"
  shared_access_key_enabled       = false
  default_to_oauth_authentication = true
  allow_nested_items_to_be_public = false
  local_user_enabled              = false
  tags                            = var.tags

  blob_properties {
    delete_retention_policy {
      days = 30
    }
  }
}

resource "azurerm_storage_container" "rotation" {
  #checkov:skip=CKV2_AZURE_21:see CKV_AZURE_206 of the account
  for_each = local.functions == 0 ? toset([]) : toset(["package", "undelivered"])

  name                  = each.key
  storage_account_id    = azurerm_storage_account.rotation[0].id
  container_access_type = "private"
}

resource "azurerm_role_assignment" "storage" {
  for_each = local.functions == 0 ? toset([]) : toset(["Storage Blob Data Owner", "Storage Queue Data Contributor"])

  scope                = azurerm_storage_account.rotation[0].id
  role_definition_name = each.key
  principal_id         = azurerm_user_assigned_identity.rotator[0].principal_id
}

resource "azurerm_service_plan" "rotation" {
  #checkov:skip=CKV_AZURE_212:Flex Consumption scales by itself, from nothing
  #checkov:skip=CKV_AZURE_225:a call that is lost with a zone comes again
  count = local.functions

  name                = local.function
  resource_group_name = var.resource_group_name
  location            = var.location
  os_type             = "Linux"
  sku_name            = "FC1"
  tags                = var.tags
}

resource "azurerm_application_insights" "rotation" {
  count = local.functions == 1 && var.log_analytics_workspace_id != null ? 1 : 0

  name                = local.function
  resource_group_name = var.resource_group_name
  location            = var.location
  workspace_id        = var.log_analytics_workspace_id
  application_type    = "other"
  tags                = var.tags
}

# Its code comes by Core Tools, who have it built there: Flex Consumption takes no zip that needs a build, and the
# provider's own way needs publishing by a password.
resource "azurerm_function_app_flex_consumption" "rotation" {
  count = local.functions

  name                              = "${var.vault_name}-rotation"
  resource_group_name               = var.resource_group_name
  location                          = var.location
  service_plan_id                   = azurerm_service_plan.rotation[0].id
  runtime_name                      = "python"
  runtime_version                   = var.rotation.python
  instance_memory_in_mb             = var.rotation.memory_mb
  maximum_instance_count            = 40
  https_only                        = true
  storage_container_type            = "blobContainer"
  storage_container_endpoint        = "${azurerm_storage_account.rotation[0].primary_blob_endpoint}package"
  storage_authentication_type       = "UserAssignedIdentity"
  storage_user_assigned_identity_id = azurerm_user_assigned_identity.rotator[0].id
  virtual_network_subnet_id         = var.rotation.subnet_id
  tags                              = var.tags

  webdeploy_publish_basic_authentication_enabled = false

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.rotator[0].id]
  }

  site_config {
    minimum_tls_version                    = "1.2"
    application_insights_connection_string = one(azurerm_application_insights.rotation[*].connection_string)
  }

  app_settings = merge(var.rotation.environment, {
    AZURE_CLIENT_ID                  = azurerm_user_assigned_identity.rotator[0].client_id
    AzureWebJobsStorage__accountName = azurerm_storage_account.rotation[0].name
    AzureWebJobsStorage__credential  = "managedidentity"
    AzureWebJobsStorage__clientId    = azurerm_user_assigned_identity.rotator[0].client_id
  })

  depends_on = [azurerm_role_assignment.storage, azurerm_storage_container.rotation]
}

resource "azurerm_eventgrid_system_topic" "vault" {
  count = local.events

  name                = local.function
  resource_group_name = var.resource_group_name
  location            = var.location
  source_resource_id  = azurerm_key_vault.this.id
  topic_type          = "Microsoft.KeyVault.vaults"
  tags                = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.rotator[0].id]
  }
}

# Azure refuses a subscription whose function is not there yet.
resource "azurerm_eventgrid_system_topic_event_subscription" "rotation" {
  count = local.events

  name                 = local.function
  resource_group_name  = var.resource_group_name
  system_topic         = azurerm_eventgrid_system_topic.vault[0].name
  included_event_types = ["Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired"]

  subject_filter {
    subject_begins_with = "${local.prefix}--"
  }

  azure_function_endpoint {
    function_id = "${azurerm_function_app_flex_consumption.rotation[0].id}/functions/rotate"
  }

  retry_policy {
    event_time_to_live    = 1440
    max_delivery_attempts = 30
  }

  # Without one Event Grid drops what was refused.
  storage_blob_dead_letter_destination {
    storage_account_id          = azurerm_storage_account.rotation[0].id
    storage_blob_container_name = azurerm_storage_container.rotation["undelivered"].name
  }

  dead_letter_identity {
    type                   = "UserAssigned"
    user_assigned_identity = azurerm_user_assigned_identity.rotator[0].id
  }
}
