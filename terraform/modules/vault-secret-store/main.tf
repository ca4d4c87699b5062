locals {
  alias = replace(var.name, "/", "-")

  mount = var.mount.create ? vault_mount.kv[0].path : var.mount.path

  # A mount of several segments is named apart in the URL.
  split = strcontains(var.mount.path, "/")
  path  = local.split ? var.name : "${var.mount.path}/${var.name}"
  store_query = compact([
    local.split ? "mount=${var.mount.path}" : "",
    var.namespace == null ? "" : "namespace=${var.namespace}",
    local.loopback ? "endpoint=${var.address}" : "",
  ])

  # Strongroom speaks plain HTTP to this machine alone, and there the endpoint is named apart.
  loopback  = startswith(var.address, "http://")
  host      = local.loopback ? "" : trimprefix(var.address, "https://")
  store_url = "vault://${local.host}/${local.path}${length(local.store_query) > 0 ? "?" : ""}${join("&", local.store_query)}"
}

resource "vault_mount" "kv" {
  count = var.mount.create ? 1 : 0

  namespace   = var.namespace
  path        = var.mount.path
  type        = "kv"
  options     = { version = "2" }
  description = "Secrets of Strongroom"
}

resource "vault_kv_secret_backend_v2" "this" {
  count = var.mount.create ? 1 : 0

  namespace    = var.namespace
  mount        = local.mount
  max_versions = var.mount.max_versions
}

# Of what this module alone writes: another number in value_versions puts the value as a new version.
resource "vault_kv_secret_v2" "written" {
  for_each = { for name, version in var.value_versions : name => version if !var.secrets[name].rotate }

  namespace            = var.namespace
  mount                = local.mount
  name                 = "${var.name}/${each.key}"
  data_json_wo         = local.data[each.key]
  data_json_wo_version = each.value

  # Otherwise the provider reads the value at every refresh.
  disable_read = true

  custom_metadata {
    data = local.metadata[each.key]
  }

  lifecycle {
    # The provider puts value and metadata in one update, and has no value where only the metadata changed:
    # https://github.com/hashicorp/terraform-provider-vault/issues/2588
    ignore_changes = [custom_metadata]
  }

  depends_on = [vault_kv_secret_backend_v2.this]
}

# The first value of what is rotated, put once: no number brings it back over a rotated one.
resource "vault_kv_secret_v2" "first" {
  for_each = { for name, version in var.value_versions : name => version if var.secrets[name].rotate }

  namespace            = var.namespace
  mount                = local.mount
  name                 = "${var.name}/${each.key}"
  data_json_wo         = local.data[each.key]
  data_json_wo_version = each.value
  disable_read         = true

  custom_metadata {
    data = local.metadata[each.key]
  }

  lifecycle {
    ignore_changes = [custom_metadata, data_json_wo_version]
  }

  depends_on = [vault_kv_secret_backend_v2.this]
}

locals {
  # As Strongroom writes a text itself: `vault kv get -field=value` shows it as it is.
  data = {
    for name in keys(var.value_versions) :
    name => jsonencode({ value = lookup(var.values, name, ""), strongroom = { kind = "text" } })
  }

  metadata = {
    for name, secret in var.secrets : name => merge(
      var.tags,
      secret.tags,
      secret.description == null ? {} : { description = secret.description },
    )
  }
}
