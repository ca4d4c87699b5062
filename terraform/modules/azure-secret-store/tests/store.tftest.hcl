mock_provider "azurerm" {}

variables {
  name                = "app"
  vault_name          = "acme-app"
  resource_group_name = "secrets"
  location            = "switzerlandnorth"
  tenant_id           = "8d4ec1a2-0000-4000-8000-000000000000"

  secrets = {
    "db/password"       = { rotate = true, description = "The application's login", tags = { owner = "ledger" } }
    "eu-west/pass.wo_d" = {}
  }

  values         = { "db/password" = "DEMO-db" }
  value_versions = { "db/password" = 1 }
  tags           = { team = "payments" }
}

run "secrets_have_azures_names" {
  command = plan

  assert {
    condition     = output.secret_names == { "db/password" = "app--db--password", "eu-west/pass.wo_d" = "app--eu-west--pass---wo----d" }
    error_message = "Names are encoded as Strongroom does: ${jsonencode(output.secret_names)}"
  }

  assert {
    condition     = output.store_url == "azure-kv://acme-app/app" && output.key_url == null
    error_message = "The URL names vault and prefix: ${output.store_url}"
  }
}

run "a_value_is_written_and_none_is_kept" {
  command = plan

  variables {
    value_versions = { "db/password" = 1, "eu-west/pass.wo_d" = 3 }
  }

  assert {
    condition     = keys(azurerm_key_vault_secret.first) == ["db/password"] && azurerm_key_vault_secret.first["db/password"].value == null
    error_message = "What rotates gets its first value, which state does not hold."
  }

  assert {
    condition     = keys(azurerm_key_vault_secret.written) == ["eu-west/pass.wo_d"] && azurerm_key_vault_secret.written["eu-west/pass.wo_d"].value_wo_version == 3
    error_message = "What does not rotate is written at each new number."
  }

  assert {
    condition     = azurerm_key_vault_secret.first["db/password"].tags == tomap({ team = "payments", owner = "ledger", description = "The application's login" })
    error_message = "Tags are the secret's."
  }
}

run "the_vault_is_closed" {
  command = plan

  assert {
    condition     = azurerm_key_vault.this.rbac_authorization_enabled && azurerm_key_vault.this.purge_protection_enabled && azurerm_key_vault.this.network_acls[0].default_action == "Deny"
    error_message = "Access is by roles, from named networks, and nothing is destroyed for ever."
  }
}

run "a_private_endpoint_is_all_that_is_left" {
  command = plan

  variables {
    network = { public = false, endpoint_subnet_id = "/subscriptions/s/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/v/subnets/s" }
  }

  assert {
    condition     = !azurerm_key_vault.this.public_network_access_enabled && azurerm_private_endpoint.vault[0].private_service_connection[0].subresource_names == tolist(["vault"])
    error_message = "The vault is reached from one subnet alone."
  }
}

run "a_role_is_of_the_vault_alone" {
  command = plan

  variables {
    readers  = ["8d4ec1a2-0000-4000-8000-000000000001"]
    rotators = ["8d4ec1a2-0000-4000-8000-000000000002"]
  }

  assert {
    condition     = keys(azurerm_role_assignment.this) == ["reader 0", "rotator 0"]
    error_message = "Every principal has its role."
  }
}

run "a_key_wraps_and_no_more" {
  variables {
    key = {}
  }

  assert {
    condition     = azurerm_key_vault_key.this[0].key_opts == tolist(["wrapKey", "unwrapKey"]) && azurerm_key_vault_key.this[0].rotation_policy[0].automatic[0].time_after_creation == "P90D"
    error_message = "The key wraps, and rotates every 90 days."
  }

  assert {
    condition     = output.key_url == "azure-key://acme-app/app" && strcontains(output.strongroom_toml, "[key.app-key]")
    error_message = "The key stands in the fragment: ${output.strongroom_toml}"
  }
}

run "events_of_this_prefix_reach_the_function" {
  command = plan

  variables {
    rotation                   = { rotator = "postgresql", function = true, events = true }
    coordinator                = { url = "postgresql://db.example.net/strongroom", user = "rotation", password = "env://PG_PASSWORD" }
    ledger                     = "elsewhere"
    log_analytics_workspace_id = "/subscriptions/s/resourceGroups/logs/providers/Microsoft.OperationalInsights/workspaces/logs"
    alarm_actions              = ["/subscriptions/s/resourceGroups/logs/providers/Microsoft.Insights/actionGroups/people"]
  }

  assert {
    condition     = azurerm_eventgrid_system_topic_event_subscription.rotation[0].subject_filter[0].subject_begins_with == "app--" && azurerm_eventgrid_system_topic_event_subscription.rotation[0].included_event_types == tolist(["Microsoft.KeyVault.SecretNearExpiry", "Microsoft.KeyVault.SecretExpired"])
    error_message = "What is near its end in this store is told, and nothing of another one."
  }

  assert {
    condition     = !azurerm_storage_account.rotation[0].shared_access_key_enabled && !azurerm_function_app_flex_consumption.rotation[0].webdeploy_publish_basic_authentication_enabled
    error_message = "The function reaches its storage by its identity: no key of an account is anywhere."
  }

  assert {
    condition     = keys(azurerm_monitor_scheduled_query_rules_alert_v2.rotation) == ["failed", "overdue"]
    error_message = "Somebody is told of failures."
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "[coordinator]\nurl = \"postgresql://db.example.net/strongroom\"") && !strcontains(output.strongroom_toml, "[ledger]")
    error_message = "The coordinator stands in the fragment: ${output.strongroom_toml}"
  }
}

run "a_value_version_below_1_is_refused" {
  command = plan

  variables {
    value_versions = { "db/password" = 0 }
  }

  expect_failures = [var.value_versions]
}

run "events_need_the_function" {
  command = plan

  variables {
    rotation    = { rotator = "postgresql", events = true }
    coordinator = { url = "postgresql://db.example.net/strongroom" }
  }

  expect_failures = [var.rotation]
}

run "a_rotation_needs_a_coordinator" {
  command = plan

  variables {
    rotation = { rotator = "postgresql" }
  }

  expect_failures = [var.rotation]
}

run "no_vault_has_this_name" {
  command = plan

  variables {
    vault_name = "acme--app"
  }

  expect_failures = [var.vault_name]
}
