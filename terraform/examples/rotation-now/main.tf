provider "strongroom" {
  config = "${path.module}/strongroom.toml"
}

# Scheduled rotations go on as strongroom.toml says; this one is beside them.
resource "strongroom_rotation" "session" {
  name    = "session/key"
  trigger = var.rotate
}

# Opened once the rotation is through: what it reads is the new key, and the plan reads nothing.
ephemeral "strongroom_secret" "session" {
  name  = "session/key"
  after = strongroom_rotation.session.rotation_id
}

# The edge cannot reach the store: it gets a copy in its own, by the same apply.
resource "strongroom_secret" "edge" {
  store            = "edge"
  name             = "session/key"
  value_wo         = ephemeral.strongroom_secret.session.value
  value_wo_version = var.rotate
}
