-- Health of a ModelOptimization for Argo CD; README.md says how to install it.
-- Progressing while a form is being sought, Healthy while one may be served, Degraded where only
-- a change helps, Suspended where it is suspended with nothing to serve.
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end

local function is(kind, value)
  return conditions[kind] ~= nil and conditions[kind].status == value
end

-- What does not change health, but whoever looks is to know it.
local function remark(condition)
  return " (" .. condition.type .. "=" .. condition.status .. ", " .. condition.reason .. ": "
    .. condition.message .. ")"
end

local ready = conditions.Ready
if ready == nil or status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not seen this spec yet"}
end

local message = ready.reason .. ": " .. ready.message
if is("Outdated", "True") then
  message = message .. remark(conditions.Outdated)
end
if is("ArtifactAvailable", "False") then
  message = message .. remark(conditions.ArtifactAvailable)
end
if is("Published", "False") then
  message = message .. remark(conditions.Published)
end

if is("Stalled", "True") then
  if conditions.Stalled.reason == "Suspended" then
    return {status = "Suspended", message = message}
  end
  return {status = "Degraded", message = message}
end
if is("Reconciling", "True") then
  return {status = "Progressing", message = message}
end
if ready.status == "True" then
  return {status = "Healthy", message = message}
end
return {status = "Degraded", message = message}
