variable "name" {
  description = "Name of the role, and prefix of the other names"
  type        = string
  default     = "polony"
}

variable "identity" {
  description = "Who uses the role: irsa or podIdentity (Amazon EKS), ecs (tasks), ec2 (instances)"
  type        = string

  validation {
    condition     = contains(["irsa", "podIdentity", "ecs", "ec2"], var.identity)
    error_message = "The identity must be irsa, podIdentity, ecs or ec2."
  }
}

variable "oidc_provider_arn" {
  description = "ARN of the IAM OIDC provider of the cluster, for irsa"
  type        = string
  default     = ""
}

variable "cluster_name" {
  description = "Name of the EKS cluster, for podIdentity"
  type        = string
  default     = ""
}

variable "namespace" {
  description = "Namespace of the Helm release, for irsa and podIdentity"
  type        = string
  default     = "polony"
}

variable "service_account" {
  description = "Service account of the Helm release, for irsa and podIdentity"
  type        = string
  default     = "polony"
}

variable "customer_role_arns" {
  description = "Roles that polony may assume; * is allowed, such as arn:aws:iam::*:role/polony-*"
  type        = list(string)

  validation {
    condition     = length(var.customer_role_arns) > 0 && alltrue([for arn in var.customer_role_arns : can(regex("^arn:[a-z-]+:iam::([0-9]{12}|\\*):role/.+$", arn))])
    error_message = "Each entry must be the ARN of a role, such as arn:aws:iam::111122223333:role/polony."
  }
}

variable "keys" {
  description = "Names of the KMS keys to make: encryption for POLONY_ENCRYPTION_KEYS, payloads for POLONY_PAYLOAD_KEYS"
  type        = set(string)
  default     = ["encryption"]
}

variable "events_url" {
  description = "https URL of POST /v1/events. Empty: no EventBridge"
  type        = string
  default     = ""

  validation {
    condition     = var.events_url == "" || can(regex("^https://", var.events_url))
    error_message = "API destinations of EventBridge accept only https."
  }
}

variable "events_key" {
  description = "POLONY_EVENTS_KEY, for EventBridge"
  type        = string
  default     = ""
  sensitive   = true
}

variable "event_buckets" {
  description = "Buckets of this account and region whose uploads EventBridge reports, with the prefix of the runs"
  type        = map(object({ prefix = optional(string, "") }))
  default     = {}
}

variable "tags" {
  description = "Tags of everything"
  type        = map(string)
  default     = {}
}
