locals {
  # As Strongroom writes names where there are no slashes: runs of underscores stand for what Google does not take.
  prefix = replace(replace(var.name, ".", "___"), "/", "__")
  place  = "projects/${var.project_number}/${var.location == null ? "" : "locations/${var.location}/"}secrets"

  # Strongroom's own secrets stand before the prefix, behind the name of their kind and five underscores.
  mine   = ["${local.place}/${local.prefix}__"]
  kinds  = { for kind in ["pending", "digest-key", "rotation", "rotation-index"] : kind => "${local.place}/${kind}_____${local.prefix}__" }
  ledger = var.ledger == "store" ? ["rotation", "rotation-index"] : []

  # Creating and listing are asked of the project, where no condition on names can hold.
  # https://cloud.google.com/secret-manager/docs/access-control
  all = {
    reader_of_secrets = {
      role        = "reader"
      permissions = ["secrets.get", "versions.access", "versions.get", "versions.list"]
      below       = local.mine
    }
    reader_of_names = {
      role        = "reader"
      permissions = ["secrets.list"]
      below       = []
    }
    rotator_of_secrets = {
      role        = "rotator"
      permissions = ["secrets.get", "secrets.update", "versions.access", "versions.add", "versions.destroy", "versions.get"]
      below       = local.mine
    }
    rotator_of_records = {
      role        = "rotator"
      permissions = ["secrets.get", "secrets.update", "versions.access", "versions.add"]
      below       = [for kind in concat(["pending"], local.ledger) : local.kinds[kind]]
    }
    rotator_of_digests = {
      role        = "rotator"
      permissions = ["versions.access", "versions.add"]
      below       = [local.kinds["digest-key"]]
    }
    rotator_of_ends = {
      role        = "rotator"
      permissions = ["versions.destroy"]
      below       = [for kind in concat(["pending"], slice(local.ledger, 0, min(1, length(local.ledger)))) : local.kinds[kind]]
    }
    rotator_of_names = {
      role        = "rotator"
      permissions = concat(["secrets.create"], var.patterns ? ["secrets.list"] : [])
      below       = []
    }
    administrator_of_secrets = {
      role        = "administrator"
      permissions = ["secrets.delete", "secrets.get", "secrets.update", "versions.access", "versions.add", "versions.destroy", "versions.get", "versions.list"]
      below       = local.mine
    }
    administrator_of_records = {
      role        = "administrator"
      permissions = ["secrets.delete", "secrets.get", "secrets.update", "versions.access", "versions.add", "versions.destroy"]
      below       = [local.kinds["pending"]]
    }
    administrator_of_digests = {
      role        = "administrator"
      permissions = ["versions.access", "versions.add"]
      below       = [local.kinds["digest-key"]]
    }
    administrator_of_names = {
      role        = "administrator"
      permissions = ["secrets.create", "secrets.list"]
      below       = []
    }
  }

  grants = {
    for name, grant in local.all : name => {
      role        = grant.role
      permissions = [for permission in grant.permissions : "secretmanager.${permission}"]
      condition   = join(" || ", [for start in grant.below : "resource.name.startsWith(\"${start}\")"])
    }
  }
}
