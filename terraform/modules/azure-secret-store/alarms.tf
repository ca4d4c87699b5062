locals {
  queries = {
    failed = {
      text     = "a call of the rotation failed"
      query    = "requests | where success == false"
      operator = "GreaterThan"
    }
    overdue = {
      text     = "nobody has looked for what is due for two hours"
      query    = "requests | where name == 'tick' and success == true"
      operator = "LessThan"
    }
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "rotation" {
  for_each = local.functions == 1 && var.log_analytics_workspace_id != null && length(var.alarm_actions) > 0 ? local.queries : {}

  name                 = "${local.function}-${each.key}"
  description          = "${local.function}: ${each.value.text}"
  resource_group_name  = var.resource_group_name
  location             = var.location
  scopes               = [azurerm_application_insights.rotation[0].id]
  severity             = 1
  evaluation_frequency = "PT15M"
  window_duration      = "PT2H"
  tags                 = var.tags

  criteria {
    query                   = each.value.query
    operator                = each.value.operator
    threshold               = each.value.operator == "LessThan" ? 1 : 0
    time_aggregation_method = "Count"
  }

  action {
    action_groups = var.alarm_actions
  }
}
