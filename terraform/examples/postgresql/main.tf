provider "strongroom" {
  config = "${path.module}/strongroom.toml"
}

# A provider block may take what is ephemeral: nothing of it is kept.
ephemeral "strongroom_secret" "administrator" {
  name = "db/administrator"
}

provider "postgresql" {
  host     = var.host
  port     = var.port
  database = "postgres"
  username = var.administrator
  password = ephemeral.strongroom_secret.administrator.value
  sslmode  = var.sslmode
}

# Made anew at every run; only the one of a run that writes is ever used.
ephemeral "strongroom_random" "password" {
  length = 32
}

resource "strongroom_secret" "password" {
  name             = "db/app"
  value_wo         = ephemeral.strongroom_random.password.value
  value_wo_version = var.password_version
}

# What the store really holds, not what this run happened to make: read in the apply, once it is written.
ephemeral "strongroom_secret" "password" {
  name  = strongroom_secret.password.name
  after = strongroom_secret.password.version
}

resource "postgresql_role" "app" {
  name                = "app"
  login               = true
  password_wo         = ephemeral.strongroom_secret.password.value
  password_wo_version = strongroom_secret.password.written_version
}
