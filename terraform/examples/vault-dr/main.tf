provider "strongroom" {
  config = "${path.module}/strongroom.toml"
}

resource "strongroom_secret" "this" {
  for_each = var.value_versions

  name             = each.key
  value_wo         = var.values[each.key]
  value_wo_version = each.value
}

# What anybody writes at the first Vault later, a rotation or a colleague, the next plan shows as behind here.
resource "strongroom_replication" "dr" {
  replica = "dr"
  after   = { for name, secret in strongroom_secret.this : name => secret.version }
}
