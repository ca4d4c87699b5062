locals {
  alarms  = local.functions == 1 && length(var.alarm_actions) > 0 ? 1 : 0
  answers = "resource.type = \"cloud_run_revision\" AND metric.type = \"run.googleapis.com/request_count\""
}

resource "google_monitoring_alert_policy" "failed" {
  count = local.alarms

  project               = var.project
  display_name          = "${local.function} fails"
  combiner              = "OR"
  severity              = "ERROR"
  user_labels           = var.tags
  notification_channels = var.alarm_actions

  conditions {
    display_name = "a call failed"

    condition_threshold {
      filter          = "${local.answers} AND resource.labels.service_name = starts_with(\"${local.function}-\") AND metric.labels.response_code_class = \"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }
}

resource "google_monitoring_alert_policy" "overdue" {
  count = local.alarms

  project               = var.project
  display_name          = "${local.function} looks for nothing"
  combiner              = "OR"
  severity              = "ERROR"
  user_labels           = var.tags
  notification_channels = var.alarm_actions

  conditions {
    display_name = "no look for what is due has succeeded for two hours"

    condition_absent {
      filter   = "${local.answers} AND resource.labels.service_name = \"${local.function}-tick\" AND metric.labels.response_code_class = \"2xx\""
      duration = "7200s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }
}
