mock_provider "vault" {}

variables {
  name    = "prod"
  address = "https://vault.example.net:8200"

  secrets = {
    "db/password" = { rotate = true, description = "The application's login", tags = { owner = "ledger" } }
    "api/key"     = {}
    "later"       = {}
  }

  values         = { "db/password" = "DEMO-db", "api/key" = "DEMO-key" }
  value_versions = { "db/password" = 1, "api/key" = 3 }
  readers        = ["app", "both"]
  rotators       = ["worker", "both"]
  tags           = { team = "payments" }
}

run "values_are_written_under_strongrooms_names" {
  assert {
    condition     = vault_kv_secret_v2.first["db/password"].name == "prod/db/password" && vault_kv_secret_v2.written["api/key"].name == "prod/api/key"
    error_message = "A secret lies below the prefix."
  }

  assert {
    condition     = output.secrets == { "db/password" = 1, "api/key" = 3 }
    error_message = "What has no value_version gets no value."
  }

  assert {
    condition     = alltrue([for secret in merge(vault_kv_secret_v2.first, vault_kv_secret_v2.written) : secret.disable_read && secret.data_json == null])
    error_message = "The provider neither reads a value nor keeps one."
  }

  assert {
    condition     = vault_kv_secret_v2.first["db/password"].custom_metadata[0].data == tomap({ team = "payments", owner = "ledger", description = "The application's login" })
    error_message = "Tags are custom metadata."
  }
}

run "the_store_is_named_by_its_url" {
  assert {
    condition     = output.store_url == "vault://vault.example.net:8200/secret/prod"
    error_message = "The URL names server, mount and prefix: ${output.store_url}"
  }

  assert {
    condition     = output.key_url == null && !strcontains(output.strongroom_toml, "[key.")
    error_message = "Without a key there is no URL of one."
  }
}

run "a_role_has_the_policies_of_its_lists" {
  assert {
    condition     = toset(vault_approle_auth_backend_role.this["both"].token_policies) == toset(["prod-reader", "prod-rotator"])
    error_message = "Who stands in two lists has both policies."
  }

  assert {
    condition     = toset(keys(vault_approle_auth_backend_role.this)) == toset(["app", "both", "worker"])
    error_message = "Every principal is an AppRole role."
  }
}

run "an_encrypted_store_has_its_key_in_the_fragment" {
  variables {
    transit        = {}
    encrypt        = true
    values         = {}
    value_versions = {}
    namespace      = "team"
    mount          = { path = "apps/kv" }
  }

  assert {
    condition     = output.store_url == "vault://vault.example.net:8200/prod?mount=apps/kv&namespace=team"
    error_message = "A mount of several segments is named apart: ${output.store_url}"
  }

  assert {
    condition     = output.key_url == "vault-transit://vault.example.net:8200/transit/prod?namespace=team" && strcontains(output.strongroom_toml, "encrypt = { keys = [\"prod-key\"], domain = \"prod\" }")
    error_message = "The store is encrypted under the transit key: ${output.strongroom_toml}"
  }

  assert {
    condition     = !vault_transit_secret_backend_key.this[0].exportable && !vault_transit_secret_backend_key.this[0].deletion_allowed
    error_message = "The key leaves the server by no way."
  }

  assert {
    condition     = strcontains(output.reader_policy, "transit/decrypt/prod")
    error_message = "Who reads an encrypted store may use its key."
  }
}

run "jwt_roles_are_bound" {
  variables {
    jwt       = { discovery_url = "https://issuer.example.net", issuer = "https://issuer.example.net" }
    jwt_roles = { ci = { grants = ["administrator"], audiences = ["strongroom"], subject = "repo:acme/app" } }
  }

  assert {
    condition     = vault_jwt_auth_backend_role.this["ci"].bound_subject == "repo:acme/app" && vault_jwt_auth_backend_role.this["ci"].token_policies == toset(["prod-administrator"])
    error_message = "A JWT role is bound, and has its grants."
  }
}

run "an_engine_that_is_there_is_used" {
  variables {
    mount   = { create = false }
    approle = { create = false, path = "machines" }
  }

  assert {
    condition     = length(vault_mount.kv) == 0 && length(vault_auth_backend.approle) == 0 && vault_approle_auth_backend_role.this["app"].backend == "machines"
    error_message = "What is there already is not made."
  }
}

run "a_rotation_stands_in_the_fragment" {
  variables {
    rotation = { rotator = "postgresql", options = { host = "db.example.net", port = 5432 } }
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "names = [\"db/password\"]") && strcontains(output.strongroom_toml, "options = { host = \"db.example.net\", port = 5432 }")
    error_message = "What has rotate = true is rotated: ${output.strongroom_toml}"
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "[ledger]\nurl = \"strongroom://prod\"")
    error_message = "The ledger is in the store."
  }
}

run "values_in_plain_go_into_no_encrypted_store" {
  command = plan

  variables {
    transit = {}
    encrypt = true
  }

  expect_failures = [var.value_versions]
}

run "plain_http_is_refused" {
  command = plan

  variables {
    address = "http://vault.example.net:8200"
  }

  expect_failures = [var.address]
}

run "a_prefix_that_could_climb_is_refused" {
  command = plan

  variables {
    name = "prod/../other"
  }

  expect_failures = [var.name]
}

run "a_prefix_that_leaves_no_room_is_refused" {
  command = plan

  variables {
    name = "a-prefix-of-more-than-24-units"
  }

  expect_failures = [var.name]
}

run "a_name_that_is_no_portable_one_is_refused" {
  command = plan

  variables {
    secrets        = { "DB_PASSWORD" = {} }
    value_versions = {}
  }

  expect_failures = [var.secrets]
}

run "a_version_of_no_secret_is_refused" {
  command = plan

  variables {
    value_versions = { "db/passwort" = 1 }
  }

  expect_failures = [var.value_versions]
}

run "a_value_that_was_forgotten_is_refused" {
  command = plan

  variables {
    values = { "api/key" = "DEMO-key" }
  }

  expect_failures = [var.values]
}

run "a_value_version_below_1_is_refused" {
  command = plan

  variables {
    value_versions = { "api/key" = 0 }
  }

  expect_failures = [var.value_versions]
}

run "an_unbound_jwt_role_is_refused" {
  command = plan

  variables {
    jwt       = { discovery_url = "https://issuer.example.net" }
    jwt_roles = { ci = { grants = ["reader"], audiences = ["strongroom"] } }
  }

  expect_failures = [var.jwt_roles]
}

run "a_raw_audit_log_is_refused" {
  command = plan

  variables {
    audit = { file = { type = "file", options = { file_path = "/var/log/vault.log", log_raw = "true" } } }
  }

  expect_failures = [var.audit]
}
