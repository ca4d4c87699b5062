data "google_project" "this" {
  project_id = var.project
}

locals {
  alias     = replace(var.name, "/", "-")
  store_url = "gcp-sm://${var.project}/${var.name}"
  number    = data.google_project.this.number

  # Google's names have no / and no dot: two and three underscores stand for them, as Strongroom writes them.
  prefix = replace(replace(var.name, ".", "___"), "/", "__")
  ids    = { for name in keys(var.secrets) : name => "${local.prefix}__${replace(replace(name, ".", "___"), "/", "__")}" }

  # What else is made here has names of letters, digits and dashes, and begins with a letter.
  plain = "${can(regex("^[a-z]", local.alias)) ? "" : "s-"}${replace(local.alias, "/[._]/", "-")}"

  agent = "serviceAccount:service-${local.number}@gcp-sa-secretmanager.iam.gserviceaccount.com"
}

resource "google_secret_manager_secret" "this" {
  for_each = var.secrets

  project             = var.project
  secret_id           = local.ids[each.key]
  labels              = var.tags
  deletion_protection = var.deletion_protection

  annotations = merge(
    each.value.tags,
    each.value.description == null ? {} : { description = each.value.description },
  )

  replication {
    dynamic "auto" {
      for_each = length(var.replicas) == 0 ? [true] : []
      content {}
    }

    dynamic "user_managed" {
      for_each = length(var.replicas) == 0 ? [] : [true]
      content {
        dynamic "replicas" {
          for_each = var.replicas
          content {
            location = replicas.key

            dynamic "customer_managed_encryption" {
              for_each = compact([lookup(local.keys, replicas.key, "")])
              content {
                kms_key_name = customer_managed_encryption.value
              }
            }
          }
        }
      }
    }
  }

  dynamic "topics" {
    for_each = contains(local.rotated, each.key) ? [google_pubsub_topic.rotation[0].id] : []
    content {
      name = topics.value
    }
  }

  dynamic "rotation" {
    for_each = contains(local.rotated, each.key) && local.period != null ? [local.period] : []
    content {
      rotation_period    = "${rotation.value}s"
      next_rotation_time = timeadd(plantimestamp(), "${rotation.value}s")
    }
  }

  lifecycle {
    # Annotations hold Strongroom's own book beside the tags, and Google moves the time on by itself.
    ignore_changes = [annotations, rotation[0].next_rotation_time]
  }

  # Secret Manager refuses a key that its agent may not use, and a topic that it may not publish to.
  depends_on = [google_kms_crypto_key_iam_member.agent, google_pubsub_topic_iam_member.agent]
}

# Another number in value_versions puts the value as a new version. Nothing that rotates has one: its rotation
# destroys the version before in the end, and the provider would then make that again, on top.
resource "google_secret_manager_secret_version" "this" {
  for_each = var.value_versions

  secret                 = google_secret_manager_secret.this[each.key].id
  secret_data_wo         = lookup(var.values, each.key, "") # Google refuses to write an empty one
  secret_data_wo_version = each.value

  # The version before may be in use still: its end is Strongroom's business.
  deletion_policy = "ABANDON"

  lifecycle {
    # Another number replaces this: made after the old one is gone, readers would find nothing.
    create_before_destroy = true
  }
}
