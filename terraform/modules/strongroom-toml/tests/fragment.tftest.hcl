variables {
  alias = "prod"
  store = { url = "vault://vault.example.net:8200/secret/prod" }
}

run "a_store_alone" {
  assert {
    condition     = output.strongroom_toml == "[store.prod]\nurl = \"vault://vault.example.net:8200/secret/prod\"\n"
    error_message = "The fragment of a store alone is its table: ${output.strongroom_toml}"
  }
}

run "a_rotation_with_its_ledger_elsewhere" {
  variables {
    rotation = { names = ["db/password"], rotator = "postgresql", ledger = "elsewhere" }
  }

  assert {
    condition     = strcontains(output.strongroom_toml, "[rotation.prod]") && !strcontains(output.strongroom_toml, "[ledger]")
    error_message = "A ledger elsewhere is written elsewhere: a file has one."
  }
}

run "a_credential_is_refused" {
  command = plan

  variables {
    store = { url = "vault://vault.example.net:8200/secret/prod", auth = { token = "hvs.a-token" } }
  }

  expect_failures = [var.store]
}

run "a_password_is_refused" {
  command = plan

  variables {
    coordinator = { url = "postgresql://db.example.net/strongroom", password = "a-password" }
  }

  expect_failures = [var.coordinator]
}

run "a_rotation_of_nothing_is_refused" {
  command = plan

  variables {
    rotation = { names = [], rotator = "postgresql" }
  }

  expect_failures = [var.rotation]
}
