locals {
  policies = {
    reader        = local.reader
    rotator       = local.rotator
    administrator = local.administrator
  }

  reader = <<-EOT
    path "${var.mount.path}/data/${var.name}/*"     { capabilities = ["read"] }
    path "${var.mount.path}/metadata/${var.name}/*" { capabilities = ["read", "list"] }
    path "${var.mount.path}/metadata/${var.name}"   { capabilities = ["list"] }
  EOT

  rotator = <<-EOT
    path "${var.mount.path}/data/${var.name}/*"                                { capabilities = ["create", "read", "update"] }
    path "${var.mount.path}/metadata/${var.name}/*"                            { capabilities = ["read", "list"] }
    path "${var.mount.path}/data/_strongroom/pending/${var.name}/*"            { capabilities = ["create", "read", "update"] }
    path "${var.mount.path}/metadata/_strongroom/pending/${var.name}/*"        { capabilities = ["read", "list"] }
    path "${var.mount.path}/destroy/_strongroom/pending/${var.name}/*"         { capabilities = ["update"] }
    path "${var.mount.path}/data/_strongroom/rotation/${var.name}/*"           { capabilities = ["create", "read", "update"] }
    path "${var.mount.path}/metadata/_strongroom/rotation/${var.name}/*"       { capabilities = ["read"] }
    path "${var.mount.path}/data/_strongroom/rotation-index/${var.name}/*"     { capabilities = ["create", "read", "update"] }
    path "${var.mount.path}/metadata/_strongroom/rotation-index/${var.name}/*" { capabilities = ["read"] }
  EOT

  administrator = <<-EOT
    path "${var.mount.path}/data/${var.name}/*"                  { capabilities = ["create", "read", "update", "delete"] }
    path "${var.mount.path}/metadata/${var.name}"                { capabilities = ["list"] }
    path "${var.mount.path}/metadata/${var.name}/*"              { capabilities = ["create", "read", "update", "patch", "delete", "list"] }
    path "${var.mount.path}/delete/${var.name}/*"                { capabilities = ["update"] }
    path "${var.mount.path}/undelete/${var.name}/*"              { capabilities = ["update"] }
    path "${var.mount.path}/destroy/${var.name}/*"               { capabilities = ["update"] }
    path "${var.mount.path}/+/_strongroom/pending/${var.name}/*" { capabilities = ["create", "read", "update", "delete", "list"] }
  EOT

  transit_policy = var.transit == null ? "" : <<-EOT
    path "${local.transit_path}/keys/${local.key_name}"    { capabilities = ["read"] }
    path "${local.transit_path}/encrypt/${local.key_name}" { capabilities = ["update"] }
    path "${local.transit_path}/decrypt/${local.key_name}" { capabilities = ["update"] }
  EOT
}

resource "vault_policy" "this" {
  for_each = local.policies

  namespace = var.namespace
  name      = "${local.alias}-${each.key}"
  policy    = "${each.value}${local.transit_policy}"
}
