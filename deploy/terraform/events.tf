# Events about uploads and HealthOmics runs of this account and region. In the accounts of customers, deploy what
# `polony iam --format events-terraform` prints: it is the same for one bucket.
#
# Turn on EventBridge in the properties of each bucket: aws_s3_bucket_notification with eventbridge = true, together
# with the notifications that the bucket already has.

locals {
  has_events = var.events_url != "" ? 1 : 0
  patterns   = local.has_events == 1 ? module.documents.event_patterns : {}
}

resource "aws_cloudwatch_event_connection" "polony" {
  count = local.has_events

  name               = var.name
  authorization_type = "API_KEY"

  auth_parameters {
    api_key {
      key   = "x-api-key"
      value = var.events_key
    }
  }

  lifecycle {
    precondition {
      condition     = length(var.events_key) >= 24
      error_message = "Set events_key to the value of POLONY_EVENTS_KEY, which has at least 24 characters."
    }
  }
}

resource "aws_cloudwatch_event_api_destination" "polony" {
  count = local.has_events

  name                             = var.name
  connection_arn                   = aws_cloudwatch_event_connection.polony[0].arn
  invocation_endpoint              = var.events_url
  http_method                      = "POST"
  invocation_rate_limit_per_second = 50
}

resource "aws_iam_role" "events" {
  count = local.has_events

  name               = "${var.name}-events"
  assume_role_policy = module.documents.events_trust_policy
  tags               = var.tags
}

resource "aws_iam_role_policy" "events" {
  count = local.has_events

  name = var.name
  role = aws_iam_role.events[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "events:InvokeApiDestination"
      Resource = aws_cloudwatch_event_api_destination.polony[0].arn
    }]
  })
}

resource "aws_cloudwatch_event_rule" "polony" {
  for_each = local.patterns

  name          = "${var.name}-${each.key}"
  event_pattern = each.value
  tags          = var.tags
}

resource "aws_cloudwatch_event_target" "polony" {
  for_each = local.patterns

  rule     = aws_cloudwatch_event_rule.polony[each.key].name
  arn      = aws_cloudwatch_event_api_destination.polony[0].arn
  role_arn = aws_iam_role.events[0].arn

  retry_policy {
    # polony has found by polling what is older.
    maximum_event_age_in_seconds = 300
    maximum_retry_attempts       = 10
  }
}
