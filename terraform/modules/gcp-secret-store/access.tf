locals {
  # Conditions know a project by its number alone.
  resource = "projects/${local.number}/secrets"
  mine     = "resource.name.startsWith(\"${local.resource}/${local.prefix}__\")"
  pending  = "resource.name.startsWith(\"${local.resource}/pending_____${local.prefix}__\")"
  ledger   = "resource.name.startsWith(\"${local.resource}/rotation_____${local.prefix}__\") || resource.name.startsWith(\"${local.resource}/rotation-index_____${local.prefix}__\")"
  digests  = "resource.name.startsWith(\"${local.resource}/digest-key_____${local.prefix}__\")"

  roles = {
    reader = {
      permissions = ["secretmanager.secrets.get", "secretmanager.versions.access", "secretmanager.versions.get", "secretmanager.versions.list"]
      condition   = local.mine
    }
    rotator = {
      permissions = [
        "secretmanager.secrets.create", "secretmanager.secrets.get", "secretmanager.secrets.update",
        "secretmanager.versions.access", "secretmanager.versions.add", "secretmanager.versions.destroy",
        "secretmanager.versions.get", "secretmanager.versions.list",
      ]
      condition = join(" || ", [local.mine, local.pending, local.ledger, local.digests])
    }
    administrator = {
      permissions = [
        "secretmanager.secrets.create", "secretmanager.secrets.delete", "secretmanager.secrets.get", "secretmanager.secrets.update",
        "secretmanager.versions.access", "secretmanager.versions.add", "secretmanager.versions.destroy",
        "secretmanager.versions.get", "secretmanager.versions.list",
      ]
      condition = join(" || ", [local.mine, local.pending, local.digests])
    }
  }

  members = merge([
    for role, members in {
      reader        = var.readers
      rotator       = concat(var.rotators, [for account in google_service_account.rotator : "serviceAccount:${account.email}"])
      administrator = var.administrators
    } : { for at, member in members : "${role} ${at}" => { role = role, member = member } }
  ]...)
}

resource "google_project_iam_custom_role" "this" {
  for_each = local.roles

  project     = var.project
  role_id     = "${replace(replace(local.alias, "-", "_"), ".", "_")}_${each.key}"
  title       = "Strongroom ${var.name} ${each.key}"
  description = "The ${each.key} of the Strongroom store ${var.name}"
  permissions = each.value.permissions
}

resource "google_project_iam_member" "this" {
  for_each = local.members

  project = var.project
  role    = google_project_iam_custom_role.this[each.value.role].id
  member  = each.value.member

  condition {
    title       = "${local.alias}-${each.value.role}"
    description = "The secrets of ${var.name} alone"
    expression  = local.roles[each.value.role].condition
  }
}
