locals {
  key_name       = var.transit == null ? "" : coalesce(var.transit.key, local.alias)
  transit_path   = var.transit == null ? "" : var.transit.path
  transit_splits = strcontains(local.transit_path, "/")
  key_query = compact([
    local.transit_splits ? "mount=${local.transit_path}" : "",
    var.namespace == null ? "" : "namespace=${var.namespace}",
    local.loopback ? "endpoint=${var.address}" : "",
  ])
  key_path = local.transit_splits ? local.key_name : "${local.transit_path}/${local.key_name}"
  key_url  = var.transit == null ? null : "vault-transit://${local.host}/${local.key_path}${length(local.key_query) > 0 ? "?" : ""}${join("&", local.key_query)}"
}

resource "vault_mount" "transit" {
  count = try(var.transit.create, false) ? 1 : 0

  namespace   = var.namespace
  path        = var.transit.path
  type        = "transit"
  description = "Keys that encrypt Strongroom's stores"
}

resource "vault_transit_secret_backend_key" "this" {
  count = var.transit == null ? 0 : 1

  namespace          = var.namespace
  backend            = var.transit.create ? vault_mount.transit[0].path : var.transit.path
  name               = local.key_name
  type               = var.transit.type
  auto_rotate_period = var.transit.rotation_days * 86400

  # Who can export a key, or back it up in plain, holds every value that it wraps; who deletes it, none.
  exportable             = false
  allow_plaintext_backup = false
  deletion_allowed       = false
}
