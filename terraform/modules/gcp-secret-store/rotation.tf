locals {
  rotated = var.rotation == null ? [] : [for name, secret in var.secrets : name if secret.rotate]

  # Google knows periods alone; of a cron the timer finds what is due.
  rate   = var.rotation == null ? null : try(regex("^rate\\(([0-9]+) (minute|hour|day)s?\\)$", var.rotation.schedule), null)
  period = local.rate == null ? null : tonumber(local.rate[0]) * { minute = 60, hour = 3600, day = 86400 }[local.rate[1]]

  functions = try(var.rotation.package, null) == null ? 0 : 1
  function  = "${local.plain}-rotation"
}

resource "google_pubsub_topic" "rotation" {
  count = var.rotation == null ? 0 : 1

  project = var.project
  name    = local.function
  labels  = var.tags

  #checkov:skip=CKV_GCP_83:messages name a secret and hold no value; Google's own key encrypts them
}

resource "google_pubsub_topic_iam_member" "agent" {
  count = var.rotation == null ? 0 : 1

  project = var.project
  topic   = google_pubsub_topic.rotation[0].name
  role    = "roles/pubsub.publisher"
  member  = local.agent
}

resource "google_service_account" "rotator" {
  count = local.functions

  project      = var.project
  account_id   = "${substr(local.plain, 0, 19)}-rotator"
  display_name = "Rotates the secrets of ${var.name}"
}

# Who may call the functions is another identity: by a call alone no value is read.
resource "google_service_account" "caller" {
  count = local.functions

  project      = var.project
  account_id   = "${substr(local.plain, 0, 20)}-caller"
  display_name = "Calls the rotation of ${var.name}"
}

resource "google_storage_bucket" "package" {
  count = local.functions

  project                     = var.project
  name                        = "${local.number}-${local.function}"
  location                    = var.rotation.location
  labels                      = var.tags
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = true

  versioning {
    enabled = true
  }

  #checkov:skip=CKV_GCP_62:it holds the function's code, which the deployment's own audit log covers
}

resource "google_storage_bucket_object" "package" {
  count = local.functions

  bucket = google_storage_bucket.package[0].name
  name   = "${filesha256(var.rotation.package)}.zip"
  source = var.rotation.package
}

resource "google_cloudfunctions2_function" "this" {
  for_each = local.functions == 0 ? {} : { rotate = google_pubsub_topic.rotation[0].id, tick = null }

  project     = var.project
  name        = "${local.function}-${each.key}"
  location    = var.rotation.location
  description = "Rotates the secrets of ${var.name}"
  labels      = var.tags

  build_config {
    runtime     = var.rotation.runtime
    entry_point = each.key

    source {
      storage_source {
        bucket = google_storage_bucket.package[0].name
        object = google_storage_bucket_object.package[0].name
      }
    }
  }

  service_config {
    service_account_email          = google_service_account.rotator[0].email
    available_memory               = var.rotation.memory
    timeout_seconds                = 540
    max_instance_count             = 3
    ingress_settings               = "ALLOW_INTERNAL_ONLY"
    all_traffic_on_latest_revision = true
    environment_variables          = var.rotation.environment
    vpc_connector                  = var.rotation.vpc_connector
  }

  dynamic "event_trigger" {
    for_each = each.key == "rotate" ? [each.value] : []
    content {
      event_type            = "google.cloud.pubsub.topic.v1.messagePublished"
      pubsub_topic          = event_trigger.value
      trigger_region        = var.rotation.location
      retry_policy          = "RETRY_POLICY_RETRY"
      service_account_email = google_service_account.caller[0].email
    }
  }
}

resource "google_cloud_run_v2_service_iam_member" "caller" {
  for_each = google_cloudfunctions2_function.this

  project  = var.project
  location = each.value.location
  name     = each.value.name
  role     = "roles/run.invoker"
  member   = "serviceAccount:${google_service_account.caller[0].email}"
}

resource "google_cloud_scheduler_job" "tick" {
  count = local.functions

  project          = var.project
  region           = var.rotation.location
  name             = "${local.function}-tick"
  description      = "Looks for what is due: events are hints, and may never come"
  schedule         = var.rotation.tick
  time_zone        = "Etc/UTC"
  attempt_deadline = "600s"

  retry_config {
    retry_count = 1
  }

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.this["tick"].service_config[0].uri

    oidc_token {
      service_account_email = google_service_account.caller[0].email
      audience              = google_cloudfunctions2_function.this["tick"].service_config[0].uri
    }
  }
}
