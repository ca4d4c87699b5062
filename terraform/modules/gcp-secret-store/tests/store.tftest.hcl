mock_provider "google" {
  override_data {
    target = data.google_project.this
    values = { number = "123456789012" }
  }
}

variables {
  name    = "prod"
  project = "acme-prod"

  secrets = {
    "db/password"      = { rotate = true, description = "The application's login", tags = { owner = "ledger" } }
    "eu-west/pass.w_d" = {}
  }

  values         = { "eu-west/pass.w_d" = "DEMO-key" }
  value_versions = { "eu-west/pass.w_d" = 2 }
  tags           = { team = "payments" }
}

# Plans alone: what is made here with prevent_destroy could not be taken down after an apply.

run "secrets_have_googles_names" {
  command = plan

  assert {
    condition     = output.secret_ids == { "db/password" = "prod__db__password", "eu-west/pass.w_d" = "prod__eu-west__pass___w_d" }
    error_message = "Names are encoded as Strongroom does: ${jsonencode(output.secret_ids)}"
  }

  assert {
    condition     = output.store_url == "gcp-sm://acme-prod/prod"
    error_message = "The URL names project and prefix: ${output.store_url}"
  }

  assert {
    condition     = google_secret_manager_secret.this["db/password"].annotations == tomap({ owner = "ledger", description = "The application's login" })
    error_message = "Tags are annotations, as Strongroom's own are."
  }
}

run "a_value_is_written_and_the_one_before_stays" {
  command = plan

  assert {
    condition     = keys(google_secret_manager_secret_version.this) == ["eu-west/pass.w_d"] && google_secret_manager_secret_version.this["eu-west/pass.w_d"].secret_data_wo_version == 2
    error_message = "What has a value_version gets a value."
  }

  assert {
    condition     = google_secret_manager_secret_version.this["eu-west/pass.w_d"].deletion_policy == "ABANDON"
    error_message = "Terraform destroys no version."
  }

  assert {
    condition     = length(google_secret_manager_secret.this["db/password"].replication[0].auto) == 1
    error_message = "Without replicas Google replicates as it likes."
  }
}

run "each_location_has_its_key" {
  command = plan

  variables {
    replicas = {
      europe-west6 = {}
      europe-west1 = { kms_key_name = "projects/acme-keys/locations/europe-west1/keyRings/main/cryptoKeys/secrets" }
    }
  }

  assert {
    condition     = keys(google_kms_crypto_key.this) == ["europe-west6"] && google_kms_crypto_key.this["europe-west6"].rotation_period == "7776000s"
    error_message = "A location without a key of its own gets one."
  }

  assert {
    condition     = keys(google_kms_crypto_key_iam_member.agent) == ["europe-west1", "europe-west6"]
    error_message = "Secret Manager's agent may use every key."
  }

  assert {
    condition     = length(google_secret_manager_secret.this["db/password"].replication[0].user_managed[0].replicas) == 2
    error_message = "A secret is kept in every location."
  }
}

run "keys_of_googles_own_where_none_are_made" {
  command = plan

  variables {
    replicas    = { europe-west6 = {}, europe-west1 = {} }
    create_keys = false
  }

  assert {
    condition     = length(google_kms_crypto_key.this) == 0 && length(google_kms_crypto_key_iam_member.agent) == 0
    error_message = "No key is made."
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "options = { locations = { \"europe-west1\" = \"\", \"europe-west6\" = \"\" } }")
    error_message = "New secrets go to the same locations: ${output.strongroom_toml}"
  }
}

run "what_rotates_tells_its_topic" {
  command = plan

  variables {
    rotation = { rotator = "postgresql" }
  }

  assert {
    condition     = google_secret_manager_secret.this["db/password"].rotation[0].rotation_period == "2592000s" && length(google_secret_manager_secret.this["db/password"].topics) == 1
    error_message = "Google tells every 30 days."
  }

  assert {
    condition     = length(google_secret_manager_secret.this["eu-west/pass.w_d"].rotation) == 0 && length(google_secret_manager_secret.this["eu-west/pass.w_d"].topics) == 0
    error_message = "What has no rotate = true is left alone."
  }

  assert {
    condition     = length(google_cloudfunctions2_function.this) == 0
    error_message = "Without the package there is no function."
  }
}

run "a_cron_is_the_timers_business" {
  command = plan

  variables {
    rotation = { rotator = "postgresql", schedule = "cron(0 3 ? * SUN *)" }
  }

  assert {
    condition     = length(google_secret_manager_secret.this["db/password"].rotation) == 0
    error_message = "Google knows no cron."
  }
}

run "the_functions_are_called_by_an_identity_that_reads_nothing" {
  command = plan

  variables {
    rotation      = { rotator = "postgresql", package = "tests/empty.zip", location = "europe-west6" }
    readers       = ["serviceAccount:app@acme-prod.iam.gserviceaccount.com"]
    alarm_actions = ["projects/acme-prod/notificationChannels/1"]
  }

  assert {
    condition     = keys(google_cloudfunctions2_function.this) == ["rotate", "tick"] && alltrue([for made in google_cloudfunctions2_function.this : made.service_config[0].ingress_settings == "ALLOW_INTERNAL_ONLY"])
    error_message = "Two functions, which nobody outside reaches."
  }

  assert {
    condition     = google_service_account.caller[0].account_id == "prod-caller" && google_service_account.rotator[0].account_id == "prod-rotator"
    error_message = "Who calls is another identity than who rotates."
  }

  assert {
    condition     = toset([for binding in keys(google_project_iam_member.this) : split("_", binding)[0]]) == toset(["reader", "rotator"])
    error_message = "The function has the rotator's roles, the application the reader's."
  }

  assert {
    condition     = length(google_monitoring_alert_policy.failed) == 1 && length(google_monitoring_alert_policy.overdue) == 1
    error_message = "Somebody is told of failures."
  }
}

run "the_first_value_of_what_rotates_is_not_terraforms" {
  command = plan

  variables {
    values         = { "db/password" = "DEMO-db" }
    value_versions = { "db/password" = 1 }
  }

  expect_failures = [var.value_versions]
}

run "a_grant_is_of_the_prefix_alone" {
  command = plan

  variables {
    readers = ["serviceAccount:app@acme-prod.iam.gserviceaccount.com"]
  }

  assert {
    condition     = google_project_iam_member.this["reader_of_secrets 0"].condition[0].expression == "resource.name.startsWith(\"projects/123456789012/secrets/prod__\")"
    error_message = "A value is read below the prefix alone."
  }

  assert {
    condition     = !anytrue([for name, grant in output.reader_policy : anytrue([for permission in grant.permissions : endswith(permission, ".add") || endswith(permission, ".update")])])
    error_message = "Who reads changes nothing."
  }
}

run "a_function_needs_a_location" {
  command = plan

  variables {
    rotation = { rotator = "postgresql", package = "tests/empty.zip" }
  }

  expect_failures = [var.rotation]
}

run "a_rotation_of_nothing_is_refused" {
  command = plan

  variables {
    secrets        = { "eu-west/pass.w_d" = {} }
    value_versions = {}
    rotation       = { rotator = "postgresql" }
  }

  expect_failures = [var.rotation]
}

run "a_label_google_refuses_is_refused" {
  command = plan

  variables {
    tags = { Team = "Payments" }
  }

  expect_failures = [var.tags]
}
